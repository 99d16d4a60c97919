"""What is said to a request that nothing here answers.

What Azure has and this world has not is 501. What Azure has not either is refused as Azure Resource Manager refuses it:
404 of a namespace, or of a type in one of the namespaces that are partly here. The lists of what Azure has are of its
public documentation of resource providers and of its REST API.
"""

from __future__ import annotations

import urllib.parse

from crdbmesh_simulator.azure.call import Call
from crdbmesh_simulator.azure.errors import ArmError

_NAMESPACES = """
aad aadiam addons adhybridhealthservice advisor alertsmanagement analysisservices apicenter apimanagement app
appcomplianceautomation appconfiguration applicationmigration appplatform attestation authorization automanage
automation autonomousdevelopmentplatform avs awsconnector azureactivedirectory azurearcdata azuredata azurefleet
azurelargeinstance azureplaywrightservice azuresphere azurestack azurestackhci azureterraform baremetal
baremetalinfrastructure batch billing billingbenefits bing blockchain blueprint botservice cache capacity cdn
certificateregistration changeanalysis chaos classiccompute classicinfrastructuremigrate classicnetwork classicstorage
classicsubscription cleanroom cloudhealth cloudtest codesigning cognitiveservices commerce communication community
compute computeschedule confidentialledger confluent connectedcache connectedcredentials connectedvehicle
connectedvmwarevsphere consumption containerinstance containerregistry containerservice costmanagement
costmanagementexports customerlockbox customproviders d365customerinsights dashboard databasefleetmanager
databasewatcher databox databoxedge databricks datacatalog datacollaboration datadog datafactory datalakeanalytics
datalakestore datamigration dataprotection datareplication datashare dbformariadb dbformysql dbforpostgresql
delegatednetwork deploymentmanager desktopvirtualization devcenter devhub deviceregistry devices deviceupdate
devopsinfrastructure devspaces devtestlab diagnostics digitaltwins documentdb domainregistration durabletask dynatrace
easm edge edgeorder elastic elasticsan engagementfabric enterprisesupport eventgrid eventhub experimentation
extendedlocation fabric falcon features fileshares fluidrelay graphservices guestconfiguration hanaonazure
hardwaresecuritymodules hdinsight healthbot healthcareapis healthdataaiservices healthmodel help hybridcloud
hybridcompute hybridconnectivity hybridcontainerservice hybridnetwork impact importexport insights intune iotcentral
iotfirmwaredefense iotoperations iotsecurity keyvault kubernetes kubernetesconfiguration kubernetesruntime kusto
labservices loadtestservice logic logz machinelearning machinelearningservices maintenance managedidentity
managednetworkfabric managedservices management managementpartner manufacturingplatform maps marketplace
marketplacenotifications marketplaceordering media migrate mission mixedreality mobilenetwork mobilepacketcore monitor
mysqldiscovery netapp network networkcloud networkfunction notificationhubs nutanix objectstore offazure
onlineexperimentation openenergyplatform openlogisticsplatform operationalinsights operationsmanagement orbital
peering pki policyinsights portal powerbidedicated powerplatform professionalservice programmableconnectivity
providerhub purview quantum quota recommendationsservice recoveryservices redhatopenshift relay resourcebuilder
resourceconnector resourcegraph resourcehealth resourcemover resourcenotifications resources saas saashub scheduler
scom scvmm search secretsynccontroller security securitycopilot securitydetonation securitydevops securityinsights
serialconsole servicebus servicefabric servicefabricmesh servicelinker servicenetworking serviceshub signalrservice
singularity softwareplan solutions sovereign sql sqlvirtualmachine standbypool storage storageactions storagecache
storagediscovery storagemover storagepool storagesync storagetasks streamanalytics subscription support
sustainabilityservices synapse syntex testbase toolchainorchestrator usagebilling verifiedid videoindexer
virtualmachineimages visualstudio vmware voiceservices vsonline web weightsandbiases windows365 windowsesu windowsiot
windowspushnotificationservices workloadbuilder workloads
"""
_NETWORK = """
applicationgatewayavailablerequestheaders applicationgatewayavailableresponseheaders
applicationgatewayavailableservervariables applicationgatewayavailablessloptions
applicationgatewayavailablewafrulesets applicationgateways applicationgatewaywebapplicationfirewallpolicies
applicationsecuritygroups azurefirewallfqdntags azurefirewalls azurewebcategories bastionhosts bgpservicecommunities
checkfrontdoornameavailability checktrafficmanagernameavailability connections customipprefixes ddoscustompolicies
ddosprotectionplans dnsforwardingrulesets dnsoperationresults dnsoperationstatuses dnsresolverdomainlists
dnsresolverpolicies dnsresolvers dnszones dscpconfigurations expressroutecircuits expressroutecrossconnections
expressroutegateways expressrouteports expressrouteportslocations expressrouteproviderports
expressrouteserviceproviders firewallpolicies frontdooroperationresults frontdoors
frontdoorwebapplicationfirewallmanagedrulesets frontdoorwebapplicationfirewallpolicies getdnsresourcereference
internalnotify internalpublicipaddresses ipallocations ipgroups loadbalancers localnetworkgateways locations
natgateways networkexperimentprofiles networkgroupmemberships networkintentpolicies networkinterfaces
networkmanagerconnections networkmanagers networkprofiles networksecuritygroups networksecurityperimeters
networkverifiers networkvirtualappliances networkvirtualapplianceskus networkwatchers operations p2svpngateways
privatednsoperationresults privatednsoperationstatuses privatednszones privatednszonesinternal
privateendpointredirectmaps privateendpoints privatelinkservices publicipaddresses publicipprefixes
queryexpressrouteportsbandwidth routefilters routetables securitypartnerproviders serviceendpointpolicies
trafficmanagergeographichierarchies trafficmanagerprofiles trafficmanagerusermetricskeys virtualhubs
virtualnetworkappliances virtualnetworkgateways virtualnetworks virtualnetworktaps virtualrouters virtualwans
vpngateways vpnserverconfigurations vpnsites
"""
_COMPUTE = """
availabilitysets capacityreservationgroups cloudservices diskaccesses diskencryptionsets disks galleries hostgroups
images locations operations payloadgroups proximityplacementgroups restorepointcollections sharedvmextensions
sharedvmimages skus snapshots sshpublickeys swiftlets virtualmachines virtualmachinescalesets
"""
_KNOWN = {f"microsoft.{name}" for name in _NAMESPACES.split()}
_OF_PROVIDERS = {"providerpermissions", "register", "registrations", "resourcetypes", "unregister"}
_TYPES = {"microsoft.network": set(_NETWORK.split()), "microsoft.compute": set(_COMPUTE.split())}


def refusal(call: Call) -> ArmError:
    """What to say to a request that nothing here answers."""
    parts = [urllib.parse.unquote(part) for part in call.path.split("/") if part]
    lowered = [part.lower() for part in parts]
    if "providers" in lowered:
        at = len(lowered) - 1 - lowered[::-1].index("providers")
        named = parts[at + 1 : at + 3]
        if named and named[0].lower().startswith("microsoft.") and named[0].lower() not in _KNOWN:
            return ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{named[0]}' is invalid.")
        types = _TYPES.get(named[0].lower()) if named else None
        if types is not None and len(named) == 2 and named[1].lower() not in types | _OF_PROVIDERS:
            return ArmError(
                404,
                "InvalidResourceType",
                f"The resource type '{named[1]}' could not be found in the namespace '{named[0]}' for api version "
                f"'{call.api_version}'.",
            )
    return ArmError(501, "NotImplemented", f"{call.method} {call.path} is not implemented by this simulation of Azure.")
